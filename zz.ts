import { imageFolder } from './src/data/folders/image-folder.ts';
import { rmSync } from 'node:fs';
rmSync('/tmp/fold/cache',{recursive:true,force:true});
let peak=0; const t0=setInterval(()=>{peak=Math.max(peak,process.memoryUsage().rss)},50);
for (let k=0;k<2;k++){
let t=performance.now();
const s=await imageFolder('/tmp/fold/set',{cache:'/tmp/fold/cache',onNotice:console.log, onProgress:(p)=>{ if(p.done%500===0) console.log(p) }});
console.log(s.train.length,s.test.length,(performance.now()-t)/(s.train.length+s.test.length),'ms/image', peak/1e6);
}
clearInterval(t0);
